from crmlab.loyalty.measures import *
from crmlab.loyalty.typology import *
from crmlab.loyalty.classes import *
from crmlab.loyalty.inertia import *
