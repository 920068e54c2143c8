"""The chapter ``representations``: do networks from different starts see the same?"""
