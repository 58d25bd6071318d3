"""The judge: a vision-language model that describes and scores masked pictures.

`loading` opens a GGUF pair in this process, `url` one behind a server; `controls` are the pictures of its report card,
`catalogue` and `hub` the judges that can be fetched, `names` what the command line needs. Import from the modules.
"""
