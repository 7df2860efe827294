"""Jobs: submit, hand over, follow, settle, cancel and recover. It knows the ledger and the one ComfyUI server behind
it.

It must never know HTTP requests, credentials or who may do what: callers hand it a user id that was decided on
elsewhere.

Reading order: `live` (what is in memory), `submission`, `dispatch`, `follow`, `settle`, `cancel`, `recover`.
"""
