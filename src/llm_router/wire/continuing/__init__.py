"""Going on with an answer whose stream broke: what was told, how another model is asked, how the two are joined."""
