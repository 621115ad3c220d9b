"""Which nodes a picture shows, and what is known of each."""
