"""sightline.data"""
