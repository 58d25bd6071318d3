"""The app's pages: they read input, call core and draw. Files with a leading underscore are shared by the pages."""
