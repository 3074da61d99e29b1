// Package report owns how results of the benchmarks are shown: on a terminal, as
// Markdown, and as one page of HTML that needs nothing but itself.
//
// It refuses to know how anything was measured, and it judges nothing: verdicts
// come with the result's rows. A ratio that was too noisy is shown in words, never
// as a number.
package report
