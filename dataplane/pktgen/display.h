// What a run shows while it goes on: a table that is drawn over itself on a terminal, else one
// plain line a second.
//
// Frames are pure functions of what was seen; Display only writes them and remembers how many lines
// to go back. One thread. A frame is a few kilobytes, so that an observer which writes one is back
// within a millisecond; what a terminal does not take at once is left out rather than waited for.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/pktgen/results.h"

namespace sluice::pktgen {

struct DisplayOptions {
    bool terminal = false;  // draw over the last frame
    bool colour = false;
    unsigned columns = 80;
    unsigned rows = 24;
};

// Of this process: whether fd is a terminal, its size, NO_COLOR (https://no-color.org) and
// TERM=dumb.
[[nodiscard]] DisplayOptions display_options(int fd);

// What the display adds up of samples.
struct Seen {
    std::string title;      // the profile, or the trial
    double duration_s = 0;  // 0: not known, or by count
    Sample last;
    std::uint64_t sent = 0, received = 0, lost = 0, connections = 0, behind = 0;
    std::uint64_t samples = 0;
    std::vector<double> sent_history;  // packets a second, the newest last; at most kHistory
    static constexpr std::size_t kHistory = 60;

    void add(const Sample& sample);
};

// Lines of at most options.columns columns and at most options.rows - 1 lines, each ended by "\n".
[[nodiscard]] std::string display_frame(const Seen& seen, const DisplayOptions& options);
// One line, ended by "\n". It is not cut: it may go to a file.
[[nodiscard]] std::string display_line(const Seen& seen);

class Display {
public:
    Display(int fd, DisplayOptions options) : fd_(fd), options_(options) {}
    ~Display() { finish(); }
    Display(const Display&) = delete;
    Display& operator=(const Display&) = delete;

    // A new run: what was seen is forgotten, and a frame that stands there stays.
    void start(std::string title, double duration_s);
    void show(const Sample& sample);
    // A line of its own, over the frame if there is one.
    void say(const std::string& line);
    // Leaves the last frame where it is.
    void finish();

private:
    void write(const std::string& text) const;
    [[nodiscard]] std::string back() const;

    int fd_;
    DisplayOptions options_;
    Seen seen_;
    std::string frame_;    // that stands on the terminal
    bool hidden_ = false;  // the cursor
};

}  // namespace sluice::pktgen
