package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"bricklayer.csi/internal/doctor"
)

// grafana reads the dashboards of a Grafana.
type grafana struct {
	base, token string
	client      *http.Client
}

// Bounds on what a server may answer.
const (
	maxDashboard  = 16 << 20
	maxDashboards = 1000
)

// dashboards returns all that the token may read.
func (g *grafana) dashboards(ctx context.Context) ([]doctor.Dashboard, error) {
	text, err := g.get(ctx, fmt.Sprintf("/api/search?type=dash-db&limit=%d", maxDashboards))
	if err != nil {
		return nil, err
	}
	var list []struct {
		UID   string `json:"uid"`
		Title string `json:"title"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("the list of dashboards: %w", err)
	}
	var all []doctor.Dashboard
	for _, d := range list {
		one := doctor.Dashboard{Name: d.Title + " in " + g.base}
		one.Text, one.Err = g.get(ctx, "/api/dashboards/uid/"+url.PathEscape(d.UID))
		all = append(all, one)
	}
	return all, nil
}

func (g *grafana) get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, apiPatience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, g.base+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	if g.token != "" {
		request.Header.Set("Authorization", "Bearer "+g.token)
	}
	answer, err := g.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s%s: Grafana answers %s", g.base, path, answer.Status)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxDashboard+1))
	if err == nil && len(text) > maxDashboard {
		err = fmt.Errorf("%s%s: longer than %d bytes", g.base, path, maxDashboard)
	}
	return text, err
}
