package quotagate

// SharedServer is for the examples, which have no testing.T.
func SharedServer() (string, error) { return shared.address() }
