"""Who asks: finds, checks and mints credentials. It knows no database, no ComfyUI and no framework; randomness and
time come in as arguments.
"""
