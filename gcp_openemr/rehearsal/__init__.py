"""The whole life of an environment in a throwaway sandbox: acts one after another, each of which proves something."""
