"""The use cases, each readable from top to bottom: values in, values out, nothing printed."""
