"""`python -m entrepot`: the same program as the `entrepot` script."""


def main() -> None:
    """Run the command line.

    The import is inside, so that a spawned child that re-reads this module never loads the commands.
    """
    from entrepot.cli.main import app_main

    app_main()


if __name__ == "__main__":
    main()
