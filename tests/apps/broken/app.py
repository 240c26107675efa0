"""An application that can not be loaded."""

import nothing_of_that_name

app = nothing_of_that_name.app
