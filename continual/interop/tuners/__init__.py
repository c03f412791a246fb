"""PEFT's own tuners as methods: ``peft:lora``, ``peft:ia3`` and whatever else is installed.

    names        which there are, LoRA's better known settings among them, and which cannot run
    settings     the fields of PEFT's configuration, and how a tuner goes through the tasks
    tuner        one PEFT model on a network: put in, taken out, merged, saved
    prompts      virtual tokens in front of what a language model reads
    eva          where LoRA starts by the inputs of a task
    adalora      the budget of ranks that AdaLoRA allocates between optimiser steps
    adaptation   a sequence of tasks with it, as the loop, the trackers and the exports know one

Importing this package imports neither torch nor peft.
"""
