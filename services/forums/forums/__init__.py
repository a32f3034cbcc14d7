"""Forums of police and community: founded, meeting over problems, agreeing, keeping what was promised."""
