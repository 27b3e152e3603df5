// The image that an earlier agent left, whatever its layout version, as far as its successor can use it: which index a
// service and a backend had, so that flows go on, and what had been counted.
//
// Layout 1 is read through a description of its own in former_image.cc. Of a layout that this program does not know (a
// downgrade) nothing is read: backends then begin at an incarnation that no flow remembers, so that datagrams choose
// anew; TCP flows hold their rewritten addresses themselves and go on.
#pragma once

#include <memory>
#include <string>

#include "dataplane/image/counts.h"
#include "dataplane/image/publisher.h"

namespace sluice::dataplane {

class FormerImage {
public:
    virtual ~FormerImage() = default;
    // Never fails: what cannot be read is told in the log, and gives an image without content. Null when there is no
    // directory.
    static std::unique_ptr<FormerImage> open(const std::string& directory);

    [[nodiscard]] virtual const image::Carried& carried() const = 0;
    // As of now; programs may still be counting.
    [[nodiscard]] virtual image::Counts counts() const = 0;
};

}  // namespace sluice::dataplane
