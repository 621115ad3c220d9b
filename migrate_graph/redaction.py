"""No secret leaves: what every text on its way out goes through."""
