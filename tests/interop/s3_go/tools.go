//go:build tools

// Package s3 pins the S3-compatible server that tests run: a gateway in front of a folder.
package s3

import _ "github.com/versity/versitygw/cmd/versitygw"
