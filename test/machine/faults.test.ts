// runs in a lab
// Commands that are killed, about machines that are overlays on a base.
import { testKills } from './kills.ts';

testKills();
