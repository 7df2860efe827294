// The script a custom node pack brings along; a frontend imports it because GET /extensions lists it.
export const pack = "lab_slow";
