"""Where blobs lie: a local directory or an S3-compatible bucket."""
