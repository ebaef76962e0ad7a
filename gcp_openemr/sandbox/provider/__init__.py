"""The sandbox's `hashicorp/google`: a Terraform provider (plugin protocol 6) that calls the sandbox's API server.

`plugin` shakes hands with Terraform, `servicer` answers its calls, `planning` decides, `convert` translates between
Terraform's values and the JSON of Google's APIs, `rest` speaks HTTP, `types` is the table of resource types, and
`mirror` installs all of it where `terraform init` finds it, `launch` and `warm` start it quickly. Schemas are data
extracted by `extract_schema`.
"""
