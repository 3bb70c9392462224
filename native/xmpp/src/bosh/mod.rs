//! BOSH's `<body/>`.
