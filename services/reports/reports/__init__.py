"""Problems of public security: reported, verified, analysed, prioritised, solved together, assessed, closed."""
