"""The arrows of the house: one file per stage, one public function each.

Stages do not import each other, except that audit builds on verify.
"""
