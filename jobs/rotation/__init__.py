"""Rotation: new passwords for a clinic while people work, with the old ones valid until nobody uses them.

`recipe` is the order; a file for each thing that has a password (`database`, `sessions`, `administrator`,
`repository`), for the secrets' versions, for the service's revisions, for executions and for the environment's lock.
"""
