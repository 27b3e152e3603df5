#include "dataplane/pktgen/svg_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace sluice::pktgen {

namespace {

// More points than a page has pixels are not seen, and make a picture of megabytes.
constexpr std::size_t kMaxPoints = 2000;
constexpr double kLetter = 6.2;  // about the width of one in the legend

Points thinned(const Points& points) {
    if (points.size() <= kMaxPoints) {
        return points;
    }
    // Of each stretch the lowest and the highest: a spike of one second stays.
    Points out;
    const std::size_t stretch = (2 * points.size() + kMaxPoints - 1) / kMaxPoints;
    for (std::size_t at = 0; at < points.size(); at += stretch) {
        const auto begin = points.begin() + static_cast<std::ptrdiff_t>(at);
        const auto end =
            points.begin() + static_cast<std::ptrdiff_t>(std::min(at + stretch, points.size()));
        auto [low, high] = std::minmax_element(
            begin, end, [](const auto& a, const auto& b) { return a.second < b.second; });
        out.push_back(*std::min(low, high));
        if (low != high) {
            out.push_back(*std::max(low, high));
        }
    }
    return out;
}

}  // namespace

std::string svg_escape(std::string_view text) {
    std::string out;
    for (const char c : text) {
        switch (c) {
            case '&': out += "&amp;"; break;
            case '<': out += "&lt;"; break;
            case '>': out += "&gt;"; break;
            case '"': out += "&quot;"; break;
            case '\'': out += "&#39;"; break;
            default:
                // XML has no control characters, and bytes beyond ASCII may not be UTF-8.
                out += static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e
                           ? '?'
                           : c;
        }
    }
    return out;
}

double round_up(double value) {
    if (!(value > 0)) {
        return 1;
    }
    const double power = std::pow(10, std::floor(std::log10(value)));
    for (const double step : {1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0}) {
        if (value <= step * power * (1 + 1e-12)) {
            return step * power;
        }
    }
    return 10 * power;
}

std::vector<double> round_ticks(const Axis& axis, int wanted) {
    std::vector<double> out;
    if (!(axis.to > axis.from)) {
        return out;
    }
    if (axis.logarithmic) {
        const double decades = std::log10(axis.to / axis.from);
        const std::vector<double> within =
            decades < 2.5 ? std::vector<double>{1, 2, 5} : std::vector<double>{1};
        for (double power = std::pow(10, std::floor(std::log10(axis.from))); power <= axis.to;
             power *= 10) {
            for (const double step : within) {
                if (step * power >= axis.from * 0.999 && step * power <= axis.to * 1.001) {
                    out.push_back(step * power);
                }
            }
        }
        return out;
    }
    const double rough = (axis.to - axis.from) / wanted;
    const double power = std::pow(10, std::floor(std::log10(rough)));
    double step = 10 * power;
    for (const double times : {1.0, 2.0, 5.0}) {
        if (times * power >= rough * 0.999) {
            step = times * power;
            break;
        }
    }
    const auto first = static_cast<long>(std::ceil(axis.from / step - 1e-9));
    const auto last = static_cast<long>(std::floor(axis.to / step + 1e-9));
    for (long i = first; i <= last; ++i) {
        out.push_back(static_cast<double>(i) * step);
    }
    return out;
}

Panel::Panel(double left, double top, double width, double height, std::string title, Axis x,
             Axis y)
    : left_(left),
      top_(top),
      width_(width),
      height_(height),
      title_(std::move(title)),
      x_(std::move(x)),
      y_(std::move(y)) {}

double Panel::x_of(double value) const {
    double share = 0;
    if (x_.logarithmic) {
        share = value <= x_.from ? 0 : std::log(value / x_.from) / std::log(x_.to / x_.from);
    } else if (x_.to > x_.from) {
        share = (value - x_.from) / (x_.to - x_.from);
    }
    return left_ + width_ * std::clamp(share, 0.0, 1.0);
}

double Panel::y_of(double value) const {
    double share = 0;
    if (y_.logarithmic) {
        share = value <= y_.from ? 0 : std::log(value / y_.from) / std::log(y_.to / y_.from);
    } else if (y_.to > y_.from) {
        share = (value - y_.from) / (y_.to - y_.from);
    }
    return top_ + height_ * (1 - std::clamp(share, 0.0, 1.0));
}

std::string Panel::path_of(const Points& points) const {
    std::string out;
    for (const auto& [x, y] : thinned(points)) {
        out += fmt::format("{}{:.1f} {:.1f}", out.empty() ? "M" : " L", x_of(x), y_of(y));
    }
    return out;
}

void Panel::line(const Points& points, const char* colour, bool dashed) {
    if (points.empty()) {
        return;
    }
    if (points.size() == 1) {
        drawn_ += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" fill=\"{}\"/>\n",
                              x_of(points[0].first), y_of(points[0].second), colour);
        return;
    }
    drawn_ += fmt::format(
        "<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\" "
        "stroke-linejoin=\"round\"{}/>\n",
        path_of(points), colour, dashed ? " stroke-dasharray=\"5 4\"" : "");
}

void Panel::steps(const Points& points, const char* colour, bool dashed) {
    Points corners;
    for (const auto& point : thinned(points)) {
        if (!corners.empty()) {
            corners.emplace_back(point.first, corners.back().second);
        }
        corners.push_back(point);
    }
    line(corners, colour, dashed);
}

void Panel::area(const Points& points, const char* colour) {
    if (points.size() < 2) {
        return;
    }
    drawn_ += fmt::format(
        "<path d=\"{} L{:.1f} {:.1f} L{:.1f} {:.1f} Z\" fill=\"{}\" fill-opacity=\"0.15\"/>\n",
        path_of(points), x_of(points.back().first), top_ + height_, x_of(points.front().first),
        top_ + height_, colour);
}

void Panel::bar(std::size_t group, std::size_t groups, std::size_t series, std::size_t in_group,
                double value, const char* colour, bool hollow, std::string_view label) {
    const double slot = width_ / static_cast<double>(groups);
    const double wide = std::min(slot * 0.76 / static_cast<double>(in_group), 90.0);
    const double x = left_ + slot * (static_cast<double>(group) + 0.5) +
                     wide * (static_cast<double>(series) - static_cast<double>(in_group) / 2);
    const double y = y_of(value);
    drawn_ += fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" {}/>\n",
        x + wide * 0.04, y, wide * 0.92, top_ + height_ - y,
        hollow ? fmt::format("fill=\"none\" stroke=\"{}\" stroke-dasharray=\"3 2\"", colour)
               : fmt::format("fill=\"{}\"", colour));
    if (!label.empty()) {
        drawn_ += fmt::format(
            "<text x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"10\" text-anchor=\"middle\">{}</text>\n",
            x + wide / 2, y - 4, svg_escape(label));
    }
}

void Panel::group_label(std::size_t group, std::size_t groups, std::string_view label) {
    drawn_ += fmt::format(
        "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n",
        left_ + width_ * (static_cast<double>(group) + 0.5) / static_cast<double>(groups),
        top_ + height_ + 17, svg_escape(label));
}

void Panel::legend(std::string_view words, const char* colour, bool dashed) {
    legend_.emplace_back(
        words, fmt::format("stroke=\"{}\"{}", colour, dashed ? " stroke-dasharray=\"4 3\"" : ""));
}

void Panel::note(std::string_view words) {
    drawn_ += fmt::format(
        "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\" fill=\"#6c757d\">{}</text>\n",
        left_ + width_ / 2, top_ + height_ / 2, svg_escape(words));
}

std::string Panel::svg() const {
    std::string out = "<g>\n";
    out += fmt::format(
        "<text x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"14\" font-weight=\"bold\">{}</text>\n", left_,
        top_ - 12, svg_escape(title_));
    for (const double tick : y_.ticks.empty() ? round_ticks(y_, 5) : y_.ticks) {
        out += fmt::format(
            "<line x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"#e9ecef\"/>\n",
            left_, left_ + width_, y_of(tick), y_of(tick));
        out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"end\">{}</text>\n",
                           left_ - 6, y_of(tick) + 4,
                           svg_escape(y_.label ? y_.label(tick) : fmt::format("{:g}", tick)));
    }
    if (x_.label) {
        for (const double tick : x_.ticks.empty() ? round_ticks(x_, 8) : x_.ticks) {
            out += fmt::format(
                "<line x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\" "
                "stroke=\"#e9ecef\"/>\n",
                x_of(tick), x_of(tick), top_, top_ + height_);
            out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\">{}</text>\n",
                               x_of(tick), top_ + height_ + 17, svg_escape(x_.label(tick)));
        }
    }
    out += fmt::format(
        "<path d=\"M{0:.1f} {1:.1f} V{2:.1f} H{3:.1f}\" fill=\"none\" stroke=\"#868e96\"/>\n",
        left_, top_, top_ + height_, left_ + width_);
    out += fmt::format(
        "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"middle\" fill=\"#495057\">{}</text>\n",
        left_ + width_ / 2, top_ + height_ + 36, svg_escape(x_.title));
    out += fmt::format(
        "<text transform=\"translate({:.1f} {:.1f}) rotate(-90)\" text-anchor=\"middle\" "
        "fill=\"#495057\">{}</text>\n",
        left_ - 56, top_ + height_ / 2, svg_escape(y_.title));
    out += drawn_;
    double x = left_ + width_;
    for (auto entry = legend_.rbegin(); entry != legend_.rend(); ++entry) {
        x -= kLetter * static_cast<double>(entry->first.size()) + 32;
        out += fmt::format(
            "<line x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\" stroke-width=\"3\" "
            "{}/>\n",
            x, x + 16, top_ - 16, top_ - 16, entry->second);
        out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" font-size=\"11\">{}</text>\n", x + 20,
                           top_ - 12, svg_escape(entry->first));
    }
    return out + "</g>\n";
}

}  // namespace sluice::pktgen
