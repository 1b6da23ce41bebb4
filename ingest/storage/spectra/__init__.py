"""A Spectra S3 appliance (BlackPearl), whose objects are on tape behind a cache.

The protocol is the vendor's: S3 as it was at first, with signatures of version 2, and beside it
bulk jobs. Objects are written and read in jobs, which the appliance plans: it cuts objects into
blobs, groups these into chunks, and says chunk by chunk what it can take or give now. ``jobs``
asks it that, ``sending`` and ``receiving`` move the blobs, ``store`` is the store made of them.
"""
