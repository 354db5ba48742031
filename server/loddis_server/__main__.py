"""`python -m loddis_server` is `loddis-server`."""

from loddis_server.cli import main

if __name__ == "__main__":
    main()
