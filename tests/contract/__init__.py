"""Every answer of the client-server API that a test gets is compared with the specification.

`answers.json` is what the specification says of the answers to each operation, condensed from its OpenAPI document (Apache License 2.0) by
`python -m tests.contract.condense DOCUMENT`. `docs/contract.md` names for each operation a test that calls it; `python -m tests.contract`
runs the tests and writes it, and each of the tests named fails when it does not call what it is named for.
"""
