"""`python -m sslab.datamodules.generate`: make images, train what makes them, or find how much noise each bears."""

from ...ssl.commands.generate import main

if __name__ == "__main__":
    main()
