"""What next, by semantic id?"""
