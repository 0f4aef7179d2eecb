"""What goes over the wire: msgspec structs and their conversions to and from domain values."""
