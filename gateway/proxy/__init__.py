"""HTTP and events between a known caller and ComfyUI: what is asked, may they, built anew, asked, streamed back.

It knows requests and answers. It must never know how a credential is proved, nor keep anything of a user's.
"""
