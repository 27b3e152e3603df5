#include "dataplane/pktgen/display.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "dataplane/pktgen/units.h"

namespace sluice::pktgen {

namespace {

constexpr unsigned kMinColumns = 20;
// A terminal that takes nothing for so long (Ctrl-S) misses a frame; sending goes on.
constexpr int kPatienceMs = 1;

double per_second(std::uint64_t count, double seconds) {
    return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

double bits_per_second(std::uint64_t packets, std::uint64_t bytes, double seconds) {
    return seconds > 0
               ? 8 * (static_cast<double>(bytes) + 20 * static_cast<double>(packets)) / seconds
               : 0;
}

double share_of(std::uint64_t part, std::uint64_t whole) {
    return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

// Columns that a text takes: it is ASCII, or blocks of three bytes each.
std::size_t width_of(std::string_view text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xc0U) != 0x80;
    }));
}

std::string cut(std::string_view text, std::size_t columns) {
    std::size_t bytes = 0;
    for (std::size_t seen = 0; bytes < text.size(); ++bytes) {
        if ((static_cast<unsigned char>(text[bytes]) & 0xc0U) != 0x80 && seen++ == columns) {
            break;
        }
    }
    return std::string(text.substr(0, bytes));
}

// The history as blocks of eight heights, the newest at the right.
std::string sparks(const std::vector<double>& history, std::size_t columns) {
    constexpr const char* kBlocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    const double most = history.empty() ? 0 : *std::max_element(history.begin(), history.end());
    std::string out;
    const std::size_t count = std::min(columns, history.size());
    for (std::size_t i = history.size() - count; i < history.size(); ++i) {
        const double share = most > 0 ? history[i] / most : 0;
        out += kBlocks[std::min<std::size_t>(7, static_cast<std::size_t>(share * 8))];
    }
    return out;
}

class Frame {
public:
    explicit Frame(const DisplayOptions& options) : options_(options) {}

    // `style`: the parameters of SGR, "" for none.
    void line(std::string_view text, const char* style = "") {
        if (lines_ + 1 >= std::max(options_.rows, 2U)) {
            return;
        }
        const std::string shown = cut(text, std::max(options_.columns, kMinColumns));
        out_ += options_.colour && *style != 0 ? fmt::format("\x1b[{}m{}\x1b[0m\n", style, shown)
                                               : shown + "\n";
        ++lines_;
    }
    [[nodiscard]] std::string text() const { return out_; }

private:
    const DisplayOptions& options_;
    std::string out_;
    unsigned lines_ = 0;
};

std::string head_of(const Seen& seen) {
    std::string out = seen.title + "  ";
    if (seen.last.at_s < 0) {
        return out + "warming up";
    }
    return out + (seen.duration_s > 0
                      ? fmt::format("{:.0f} of {:g} s", seen.last.at_s, seen.duration_s)
                      : fmt::format("{:.0f} s", seen.last.at_s));
}

std::string row(std::string_view name, std::uint64_t packets, std::uint64_t bytes, double seconds,
                std::uint64_t total) {
    return fmt::format(
        "  {:<9}{:>12}{:>14}{:>20}", name, with_prefix(per_second(packets, seconds), "pps"),
        with_prefix(bits_per_second(packets, bytes, seconds), "bit/s"), grouped(total));
}

}  // namespace

DisplayOptions display_options(int fd) {
    DisplayOptions out;
    const char* const kind = std::getenv("TERM");
    const bool dumb = kind == nullptr || std::strcmp(kind, "dumb") == 0;
    out.terminal = ::isatty(fd) == 1 && !dumb;
    const char* const no_colour = std::getenv("NO_COLOR");
    out.colour = out.terminal && (no_colour == nullptr || *no_colour == 0);
    winsize size{};
    if (out.terminal && ::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
        out.columns = size.ws_col;
        out.rows = size.ws_row;
    }
    return out;
}

void Seen::add(const Sample& sample) {
    last = sample;
    ++samples;
    // The warm-up is not counted.
    if (sample.at_s >= 0) {
        sent += sample.sent;
        received += sample.received;
        lost += sample.lost;
        connections += sample.connections;
        behind += sample.behind;
    }
    if (sent_history.size() == kHistory) {
        sent_history.erase(sent_history.begin());
    }
    sent_history.push_back(per_second(sample.sent, sample.interval_s));
}

std::string display_frame(const Seen& seen, const DisplayOptions& options) {
    const Sample& last = seen.last;
    Frame frame(options);
    frame.line(head_of(seen), "1");
    frame.line(fmt::format("  {:<9}{:>12}{:>14}{:>20}", "", "rate", "layer 1", "packets"), "2");
    frame.line(row("sent", last.sent, last.sent_bytes, last.interval_s, seen.sent));
    if (seen.behind > 0) {
        frame.line(fmt::format("  {:<9}{:>12}{:>14}{:>20}", "behind",
                               with_prefix(per_second(last.behind, last.interval_s), "/s"), "",
                               grouped(seen.behind)),
                   "33");
    }
    frame.line(row("received", last.received, last.received_bytes, last.interval_s, seen.received));
    frame.line(fmt::format("  {:<9}{:>12}{:>14}{:>20}  {}", "lost",
                           with_prefix(per_second(last.lost, last.interval_s), "pps"), "",
                           grouped(seen.lost), percent_text(share_of(seen.lost, seen.sent))),
               seen.lost > 0 ? "31" : "");
    if (last.p99_ns > 0) {
        frame.line(fmt::format("  {:<9}{:>12}{:>14}", "latency",
                               "p50 " + time_text(static_cast<double>(last.p50_ns)),
                               "p99 " + time_text(static_cast<double>(last.p99_ns))));
    }
    if (seen.connections > 0) {
        frame.line(fmt::format("  {:<9}{:>12}{:>14}{:>20}", "closed",
                               with_prefix(per_second(last.connections, last.interval_s), "/s"), "",
                               grouped(seen.connections)));
    }
    if (!seen.sent_history.empty()) {
        const std::size_t room = std::max(options.columns, kMinColumns) - 11;
        frame.line("  sent     " + sparks(seen.sent_history, room), "36");
    }
    if (!last.ports.empty()) {
        std::size_t name = 4;
        for (const PortCounts& port : last.ports) {
            name = std::max(name, std::min<std::size_t>(width_of(port.name), 24));
        }
        frame.line("");
        frame.line(fmt::format("  {:<{}}{:>17}{:>17}{:>11}{:>11}{:>11}", "port", name, "sent",
                               "received", "refused", "missed", "errors"),
                   "2");
        for (const PortCounts& port : last.ports) {
            const bool trouble = port.port_missed > 0 || port.port_errors > 0;
            frame.line(fmt::format("  {:<{}}{:>17}{:>17}{:>11}{:>11}{:>11}", cut(port.name, 24),
                                   name, grouped(port.sent), grouped(port.received),
                                   with_prefix(static_cast<double>(port.refused)),
                                   with_prefix(static_cast<double>(port.port_missed)),
                                   with_prefix(static_cast<double>(port.port_errors))),
                       trouble ? "33" : "");
        }
    }
    return frame.text();
}

std::string display_line(const Seen& seen) {
    const Sample& last = seen.last;
    std::string out = fmt::format(
        "{}: sent {} ({}), received {}, lost {} ({} in all)", head_of(seen),
        with_prefix(per_second(last.sent, last.interval_s), "pps"),
        with_prefix(bits_per_second(last.sent, last.sent_bytes, last.interval_s), "bit/s"),
        with_prefix(per_second(last.received, last.interval_s), "pps"), grouped(last.lost),
        grouped(seen.lost));
    if (seen.behind > 0) {
        out += fmt::format(", behind {} ({} in all)", grouped(last.behind), grouped(seen.behind));
    }
    if (last.p99_ns > 0) {
        out += fmt::format(", p50 {}, p99 {}", time_text(static_cast<double>(last.p50_ns)),
                           time_text(static_cast<double>(last.p99_ns)));
    }
    if (seen.connections > 0) {
        out += fmt::format(", closed {}",
                           with_prefix(per_second(last.connections, last.interval_s), "/s"));
    }
    return out + "\n";
}

// To the beginning of the frame that stands there, and everything below it away.
std::string Display::back() const {
    const auto lines = std::count(frame_.begin(), frame_.end(), '\n');
    return lines == 0 ? std::string() : fmt::format("\x1b[{}A\r\x1b[J", lines);
}

void Display::start(std::string title, double duration_s) {
    seen_ = Seen{};
    seen_.title = std::move(title);
    seen_.duration_s = duration_s;
    frame_.clear();
}

void Display::show(const Sample& sample) {
    seen_.add(sample);
    if (!options_.terminal) {
        write(display_line(seen_));
        return;
    }
    const DisplayOptions now = display_options(fd_);  // it may have been resized
    options_.columns = now.terminal ? now.columns : options_.columns;
    options_.rows = now.terminal ? now.rows : options_.rows;
    pollfd ready{fd_, POLLOUT, 0};
    if (::poll(&ready, 1, kPatienceMs) != 1) {
        return;
    }
    std::string next = display_frame(seen_, options_);
    write((hidden_ ? "" : "\x1b[?25l") + back() + next);
    hidden_ = true;
    frame_ = std::move(next);
}

void Display::say(const std::string& line) {
    if (options_.terminal) {
        write(back() + line + "\n" + frame_);
    } else {
        write(line + "\n");
    }
}

void Display::finish() {
    if (hidden_) {
        write("\x1b[?25h");
        hidden_ = false;
    }
    frame_.clear();
}

void Display::write(const std::string& text) const {
    std::string_view left = text;
    while (!left.empty()) {
        const ssize_t written = ::write(fd_, left.data(), left.size());
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return;  // nobody looks any more; the results are still to be written
        left.remove_prefix(static_cast<std::size_t>(written));
    }
}

}  // namespace sluice::pktgen
