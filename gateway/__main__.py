"""`python -m gateway`, the same as the command `comfy-gateway`. It does not know any command."""

from gateway.cli import main

if __name__ == "__main__":
    main()
