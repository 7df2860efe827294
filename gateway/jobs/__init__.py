"""Jobs: submit, hand over, follow, settle, cancel and recover. It knows the ledger and the one ComfyUI server behind
it.

It must never know HTTP requests, credentials or roles: callers hand it a user id that was decided on elsewhere, and a
way to find that user's root and policy (`files.Owner`).

Reading order: `live` (what is in memory), `desk` (what all share), `submission`, `files`, `post`, `park`, `dispatch`,
`follow`, `hub`, `settle`, `cancel`, `departures`, `overtime`, `look`, `comparison`, `recover`, `views`, `outlook`;
`works` puts them together.
"""
