"""A page on this machine to try vectors and LoRAs on: steered beside untouched text, live.

settings   what a page asks for, as typed records
steering   what can be put on the model, and how it is used
probe_set  a run's own questions, as presets
sources    from the words of the command line to all of it
reader     what is read while a text is generated
lane       one text, token by token, as events
curve      scores against strength, point by point, as events
recipe     the same in Python, and as a file that brings the page back
turns      one piece of work on the model at a time
guard      who may use the server
server     the routes
page/      HTML, CSS and JavaScript, served as they are
"""
