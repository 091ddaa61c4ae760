"""Who may do what. Pure: facts go in, a decision comes out."""
