"""A slice as files for others: tables, pictures in a zip, FiftyOne, Label Studio, Hugging Face.

Knows: the rows and pictures of a query, the formats of other tools. Does not know: Streamlit, models, what is in them.
Every file is written beside its place and renamed when it is complete; pictures are held one at a time. `forms` names
the forms and loads nothing else; `export.export` writes them; `tables` are the rows alone.
"""
