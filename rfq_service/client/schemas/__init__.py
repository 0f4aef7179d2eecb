"""What the service answers, as frozen structs: one for each schema of its OpenAPI document."""
