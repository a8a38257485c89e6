"""`python -m sslab.eval`: evaluate a backbone, or read evaluations side by side; `--help` names the choices."""

from ..ssl.commands.evaluate import main

if __name__ == "__main__":
    main()
