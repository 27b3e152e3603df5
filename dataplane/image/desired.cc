#include "dataplane/image/desired.h"

namespace sluice::image {

std::string ServiceKey::display() const {
    return port.empty() ? service : service + ":" + port;
}

}  // namespace sluice::image
