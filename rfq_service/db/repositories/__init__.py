"""Every query of the service, as Core statements; rows in, domain values out."""
