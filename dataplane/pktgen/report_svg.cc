// Reports as a picture: one page of panels, each a chart of svg_plot.h.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "dataplane/pktgen/profile_text.h"
#include "dataplane/pktgen/report.h"
#include "dataplane/pktgen/svg_plot.h"
#include "dataplane/pktgen/units.h"

namespace sluice::pktgen {

namespace {

constexpr double kPageWidth = 960;
constexpr double kLeft = 92;
constexpr double kPlotWidth = kPageWidth - kLeft - 34;
constexpr double kPlotHeight = 200;
constexpr double kPanelPitch = 300;
constexpr double kHead = 116;  // of the page, up to the first plot

constexpr const char* kSent = kSvgColours[0];
constexpr const char* kReceived = kSvgColours[2];
constexpr const char* kLost = kSvgColours[1];

class Page {
public:
    [[nodiscard]] Panel panel(std::string title, Axis x, Axis y) const {
        const double top = kHead + kPanelPitch * static_cast<double>(panels_);
        return {kLeft, top, kPlotWidth, kPlotHeight, std::move(title), std::move(x), std::move(y)};
    }
    void add(const Panel& panel) {
        drawn_ += panel.svg();
        ++panels_;
    }
    [[nodiscard]] std::string svg(std::string_view title, std::string_view subtitle,
                                  std::string_view foot) const {
        const double height = kHead + kPanelPitch * static_cast<double>(panels_) - 30;
        std::string out = fmt::format(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" "
            "width=\"{0:.0f}\" "
            "height=\"{1:.0f}\" font-family=\"DejaVu Sans, Helvetica, Arial, sans-serif\" "
            "font-size=\"12\">\n"
            "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
            kPageWidth, height);
        out +=
            fmt::format("<text x=\"24\" y=\"34\" font-size=\"20\" font-weight=\"bold\">{}</text>\n",
                        svg_escape(title));
        out += fmt::format("<text x=\"24\" y=\"58\" fill=\"#495057\">{}</text>\n",
                           svg_escape(subtitle));
        out += drawn_;
        out += fmt::format(
            "<text x=\"{:.0f}\" y=\"{:.0f}\" font-size=\"10\" text-anchor=\"end\" "
            "fill=\"#868e96\">{}</text>\n",
            kPageWidth - 24, height - 10, svg_escape(foot));
        return out + "</svg>\n";
    }

private:
    std::string drawn_;
    std::size_t panels_ = 0;
};

// "10.0 M" as "10 M".
std::string short_text(std::string text) {
    const std::size_t end = std::min(text.find(' '), text.size());
    const std::size_t point = text.find('.');
    if (point < end) {
        std::size_t last = text.find_last_not_of('0', end - 1);
        last -= last == point ? 1 : 0;
        text.erase(last + 1, end - last - 1);
    }
    return text;
}

// Rates are means of intervals: the first one's begins at its beginning.
Points from_the_beginning(Points points) {
    if (!points.empty()) {
        points.insert(points.begin(), {0.0, points.front().second});
    }
    return points;
}

Axis rates(std::string title, double most) {
    Axis axis;
    axis.title = std::move(title);
    axis.to = round_up(most * 1.05);
    axis.label = [](double value) { return short_text(with_prefix(value)); };
    return axis;
}

// What one point is at: the sample's middle would be truer, its end is what the text says.
Axis seconds_of(const std::vector<Sample>& samples) {
    Axis axis;
    axis.title = "seconds";
    axis.from = 0;
    axis.to = samples.empty() ? 1 : std::max(samples.back().at_s, 1e-3);
    axis.label = [](double value) { return fmt::format("{:g}", value); };
    return axis;
}

// Latencies on an axis from the least to the greatest; by powers of ten when these are far apart.
Axis latencies(double least, double most) {
    Axis axis;
    axis.title = "latency";
    axis.logarithmic = least > 0 && most > 20 * least;
    if (axis.logarithmic) {
        const double power = std::pow(10, std::floor(std::log10(least)));
        axis.from = least >= 5 * power ? 5 * power : least >= 2 * power ? 2 * power : power;
    }
    axis.to = round_up(most * 1.02);
    axis.label = [](double ns) { return short_text(time_text(ns)); };
    return axis;
}

// The share p of the packets stands at 1 / (1 - p), so that each nine is as wide as the one before.
Points percentile_curve(const Histogram& latency) {
    Points out;
    const auto all = static_cast<double>(latency.count());
    double before = 0;
    for (const Histogram::Step& step : latency.steps()) {
        out.emplace_back(all / (all - before), static_cast<double>(step.value));
        before = static_cast<double>(step.cumulative);
    }
    if (!out.empty()) {
        out.emplace_back(all, out.back().second);
    }
    return out;
}

struct Named {
    std::string name;
    const Histogram* latency;
};

void add_percentiles(Page& page, const std::vector<Named>& all) {
    double least = 0;
    double most = 0;
    double count = 10;
    for (const Named& one : all) {
        const auto smallest = static_cast<double>(std::max<std::uint64_t>(one.latency->min(), 1));
        least = least == 0 ? smallest : std::min(least, smallest);
        most = std::max(most, static_cast<double>(one.latency->max()));
        count = std::max(count, static_cast<double>(one.latency->count()));
    }
    Axis x;
    x.title = "share of the packets that were no slower";
    x.from = 1;
    x.to = std::min(count, 1e6);
    x.logarithmic = true;
    x.ticks = {1, 2};
    for (double nines = 10; nines <= x.to; nines *= 10) {
        x.ticks.push_back(nines);
    }
    x.label = [](double value) {
        return value == 1 ? "0 %" : fmt::format("{:.8g} %", 100 - 100 / value);
    };
    Panel panel = page.panel("Latency by percentile", x, latencies(least, most));
    std::size_t series = 0;
    for (const Named& one : all) {
        const char* colour = kSvgColours[series++ % kSvgColourCount];
        panel.steps(percentile_curve(*one.latency), colour);
        if (all.size() > 1) {
            panel.legend(one.name, colour);
        }
    }
    if (all.empty()) {
        panel.note("no packet with a probe came back");
    }
    page.add(panel);
}

double per_second(std::uint64_t count, const Sample& sample) {
    return sample.interval_s > 0 ? static_cast<double>(count) / sample.interval_s : 0;
}

void add_series(Page& page, const RunResult& run) {
    Points sent;
    Points received;
    Points lost;
    double most = 0;
    std::uint64_t all_lost = 0;
    for (const Sample& sample : run.samples) {
        sent.emplace_back(sample.at_s, per_second(sample.sent, sample));
        received.emplace_back(sample.at_s, per_second(sample.received, sample));
        lost.emplace_back(sample.at_s, per_second(sample.lost, sample));
        all_lost += sample.lost;
        most = std::max({most, sent.back().second, received.back().second, lost.back().second});
    }
    Panel panel = page.panel("Over time", seconds_of(run.samples), rates("packets a second", most));
    if (all_lost > 0) {
        panel.area(from_the_beginning(lost), kLost);
        panel.line(from_the_beginning(lost), kLost);
    }
    panel.line(from_the_beginning(sent), kSent);
    panel.line(from_the_beginning(received), kReceived, true);
    panel.legend("sent", kSent);
    panel.legend("received", kReceived, true);
    if (all_lost > 0) {
        panel.legend("lost", kLost);
    }
    if (sent.empty()) {
        panel.note("the run was too short for a series");
    }
    page.add(panel);
}

void add_latency_series(Page& page, const RunResult& run) {
    Points p50;
    Points p99;
    double least = 0;
    double most = 0;
    for (const Sample& sample : run.samples) {
        if (sample.p99_ns == 0) {
            continue;  // nothing came in this interval
        }
        p50.emplace_back(sample.at_s, static_cast<double>(sample.p50_ns));
        p99.emplace_back(sample.at_s, static_cast<double>(sample.p99_ns));
        const double low = std::max(p50.back().second, 1.0);
        least = least == 0 ? low : std::min(least, low);
        most = std::max(most, p99.back().second);
    }
    if (p50.empty()) {
        return;
    }
    Panel panel = page.panel("Latency over time", seconds_of(run.samples), latencies(least, most));
    panel.line(p50, kSent);
    panel.line(p99, kLost);
    panel.legend("50 %", kSent);
    panel.legend("99 %", kLost);
    page.add(panel);
}

void add_connection_series(Page& page, const RunResult& run) {
    Points closed;
    double most = 0;
    for (const Sample& sample : run.samples) {
        closed.emplace_back(sample.at_s, per_second(sample.connections, sample));
        most = std::max(most, closed.back().second);
    }
    if (most == 0) {
        return;
    }
    Panel panel =
        page.panel("Connections", seconds_of(run.samples), rates("closed a second", most));
    panel.line(from_the_beginning(closed), kSent);
    page.add(panel);
}

std::string subtitle_of(const RunResult& run) {
    std::string out =
        fmt::format("sent {}, received {}, lost {}", with_prefix(run.sent_pps, "pps"),
                    with_prefix(run.received_pps, "pps"), percent_text(loss_share(run)));
    if (run.latency.count() > 0) {
        out += fmt::format("; latency p50 {}, p99 {}, max {}",
                           time_text(static_cast<double>(run.latency.percentile(50))),
                           time_text(static_cast<double>(run.latency.percentile(99))),
                           time_text(static_cast<double>(run.latency.max())));
    }
    return out;
}

std::string title(const RunResult& run) {
    return run.profile.name;
}
std::string title(const ThroughputReport& report) {
    return report.profile.name + ": throughput (RFC 2544)";
}
std::string title(const ConnectionReport& report) {
    return report.profile.name + ": connections a second";
}

std::string draw(Page& page, const RunResult& run) {
    add_series(page, run);
    add_connection_series(page, run);
    std::vector<Named> all;
    if (run.latency.count() > 0) {
        all.push_back({"", &run.latency});
    }
    add_percentiles(page, all);
    add_latency_series(page, run);
    return subtitle_of(run);
}

void add_bars(Page& page, const ThroughputReport& report, bool bits) {
    const auto& sizes = report.sizes;
    const auto bits_of = [](const ThroughputResult& size) {
        return 8.0 * (size.frame_bytes + kLinkOverheadBytes);
    };
    double most = 0;
    bool line = false;
    for (const ThroughputResult& size : sizes) {
        most = std::max(most, size.ceiling_packets_per_second * (bits ? bits_of(size) : 1));
        line = line || size.ceiling_is_line;
    }
    Axis x;
    x.title = "bytes a frame";
    Panel panel = page.panel(bits ? "Bits a second of layer 1" : "Packets a second", x,
                             rates(bits ? "bits a second" : "packets a second", most * 1.03));
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        const double unit = bits ? bits_of(sizes[i]) : 1;
        const double found = sizes[i].packets_per_second * unit;
        panel.bar(i, sizes.size(), 0, 2, found, kSent, false, with_prefix(found));
        const double ceiling = sizes[i].ceiling_packets_per_second * unit;
        panel.bar(i, sizes.size(), 1, 2, ceiling, "#868e96", true,
                  sizes.size() <= 8 ? with_prefix(ceiling) : "");
        panel.group_label(i, sizes.size(), fmt::format("{}", sizes[i].frame_bytes));
    }
    panel.legend("throughput", kSent);
    panel.legend(line ? "the line" : "the sender without a limit", "#868e96", true);
    page.add(panel);
}

std::string draw(Page& page, const ThroughputReport& report) {
    add_bars(page, report, false);
    add_bars(page, report, true);
    std::vector<Named> all;
    for (const ThroughputResult& size : report.sizes) {
        if (size.best && size.trials[*size.best].result.latency.count() > 0) {
            all.push_back(
                {fmt::format("{}", size.frame_bytes), &size.trials[*size.best].result.latency});
        }
    }
    add_percentiles(page, all);
    return fmt::format(
        "trials of {} s, tolerated loss {}, resolution {}; latency is that at the throughput",
        report.options.trial_s, percent_text(report.options.loss_tolerance),
        percent_text(report.options.resolution));
}

std::string draw(Page& page, const ConnectionReport& report) {
    const ConnectionRateResult& found = report.found;
    double most = found.ceiling_connections_per_second;
    for (const Trial& trial : found.trials) {
        most = std::max(most, trial.reached_per_second);
    }
    Axis x;
    x.title = "trial";
    Panel panel = page.panel("Trials", x, rates("opened a second", most * 1.03));
    const std::size_t count = found.trials.size();
    for (std::size_t i = 0; i < count; ++i) {
        const Trial& trial = found.trials[i];
        panel.bar(i, count, 0, 1, trial.reached_per_second, trial.passed ? kReceived : kLost, false,
                  count <= 16 ? with_prefix(trial.reached_per_second) : "");
        if (count <= 32 || i % 8 == 0) {
            panel.group_label(i, count, std::to_string(i + 1));
        }
    }
    panel.legend("all closed in order", kReceived);
    panel.legend("some failed", kLost);
    page.add(panel);
    std::vector<Named> all;
    if (found.best) {
        const RunResult& best = found.trials[*found.best].result;
        if (best.latency.count() > 0) {
            all.push_back({"", &best.latency});
        }
        add_percentiles(page, all);
        add_connection_series(page, best);
    }
    return fmt::format(
        "{} connections a second; trials of {} s, tolerated failures {}, resolution {}",
        with_prefix(found.connections_per_second), report.options.trial_s,
        percent_text(report.options.loss_tolerance), percent_text(report.options.resolution));
}

}  // namespace

std::string report_svg(const Report& report) {
    Page page;
    const std::string subtitle =
        std::visit([&](const auto& what) { return draw(page, what); }, report.what);
    const std::string head = std::visit([](const auto& what) { return title(what); }, report.what);
    std::string foot = "sluice-pktgen " + report.tool_version;
    if (!report.started_at.empty()) {
        foot += ", " + report.started_at;
    }
    return page.svg(head, subtitle, foot);
}

}  // namespace sluice::pktgen
