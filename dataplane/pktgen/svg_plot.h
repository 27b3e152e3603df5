// Charts as SVG text: axes with round ticks, lines, areas and bars on a panel of a page. Knows
// nothing of packets.
//
// Coordinates are pixels of the page from its upper left corner. Text is escaped; what is not XML
// is replaced.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::pktgen {

// Colours that people with the usual deficiencies of colour vision tell apart (Okabe and Ito),
// darker where they are to be read on white.
inline constexpr const char* kSvgColours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                              "#8c6d00", "#56b4e9", "#4d4d4d"};
inline constexpr std::size_t kSvgColourCount = std::size(kSvgColours);

[[nodiscard]] std::string svg_escape(std::string_view text);

// From `from` to `to`, linear or by powers of ten.
struct Axis {
    std::string title;
    double from = 0;
    double to = 1;
    bool logarithmic = false;
    std::function<std::string(double)> label;  // of a tick
    std::vector<double> ticks;                 // empty: round ones
};

// Ticks at 1, 2 or 5 times a power of ten, about `wanted` of them, within [from, to]; of a
// logarithmic axis powers of ten, with 2 and 5 times them where there are few.
[[nodiscard]] std::vector<double> round_ticks(const Axis& axis, int wanted);
// The least round number that is not below `value`: where an axis ends.
[[nodiscard]] double round_up(double value);

using Points = std::vector<std::pair<double, double>>;  // x, y, in the axes' units

class Panel {
public:
    // The frame of the plot; titles and labels lie outside of it: 70 to the left, 44 below, 26
    // above.
    Panel(double left, double top, double width, double height, std::string title, Axis x, Axis y);

    void line(const Points& points, const char* colour, bool dashed = false);
    // Constant from each point's x to the next one's.
    void steps(const Points& points, const char* colour, bool dashed = false);
    // From the x axis up to the points.
    void area(const Points& points, const char* colour);
    // Bars of a group share its place; `group` of `groups`, from 0. `label` stands over the bar.
    void bar(std::size_t group, std::size_t groups, std::size_t series, std::size_t in_group,
             double value, const char* colour, bool hollow, std::string_view label);
    void group_label(std::size_t group, std::size_t groups, std::string_view label);
    // A mark with words beside it, over the plot's right end.
    void legend(std::string_view words, const char* colour, bool dashed = false);
    // Something in words in the middle, when there is nothing to draw.
    void note(std::string_view words);
    [[nodiscard]] std::string svg() const;

private:
    [[nodiscard]] double x_of(double value) const;
    [[nodiscard]] double y_of(double value) const;
    [[nodiscard]] std::string path_of(const Points& points) const;

    double left_, top_, width_, height_;
    std::string title_;
    Axis x_, y_;
    std::string drawn_;
    std::vector<std::pair<std::string, std::string>> legend_;  // words; its mark, about the origin
};

}  // namespace sluice::pktgen
