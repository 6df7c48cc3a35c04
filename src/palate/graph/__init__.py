"""What do neighbours say?"""
