// Every view has the same surroundings.

export { About } from "../ui/about";
