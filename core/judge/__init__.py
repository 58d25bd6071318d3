"""The judge: a local vision-language model that describes a masked picture and scores how well it supports a prediction."""
