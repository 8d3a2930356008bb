package resolve

import "time"

// Records lets tests feed packets without a network.
var Records = records

// SetTimeout changes how long the client waits for each server.
func (c *Client) SetTimeout(d time.Duration) {
	for _, s := range c.servers {
		s.timeout = d
	}
}
